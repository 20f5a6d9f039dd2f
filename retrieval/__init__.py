"""Course documents -> passages -> the sentences that answer a question. Knows nothing of models that write."""
