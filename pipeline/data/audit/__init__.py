"""`pipeline audit`: what is wrong with a folder of pictures, in plain words, before an hour of training."""
