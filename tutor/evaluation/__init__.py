"""What `eval` measures, one file a measure: retrieval, answers, grading."""
