"""`fasttok-evaluate replay`: a page that compares the predicted with the recorded actions of an episode."""
