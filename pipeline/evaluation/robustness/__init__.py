"""How verdicts change under what a line does to pictures: light, focus, noise, a bumped camera, dust, covered corners."""
