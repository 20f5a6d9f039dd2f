"""What a learner uses: the chat turn, the pages, the command line. Inference only, never training."""
