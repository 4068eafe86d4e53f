"""Training wing: pictures in, a trained run and a bundle out."""
