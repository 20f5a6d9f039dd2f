"""What is asked: questions on the built-in course, and prompts of 200 to 300 tokens as the tutor writes them."""

QUESTIONS = [
    "What is a token?",
    "What is the difference between training and inference?",
    "What does LoRA train?",
    "What is overfitting?",
    "Why does retrieval help a small model?",
    "What is a label?",
    "How are passages found?",
    "What is a parameter?",
    "Why is a word sometimes split into several tokens?",
    "When should I fine-tune and when should I use retrieval?",
]

_MORE = [
    "Both can be measured with a few lines of code on a small set of examples that were never used before.",
    "In the course this is tried out on a laptop with a model of 135 million parameters, in minutes, not days.",
    "What was found is written down beside the result, so that it can be repeated later by someone else.",
]

NOTES: list[tuple[str, list[str]]] = [
    (
        "What is overfitting?",
        [
            "Overfitting is when a model learns the training data so well that it does badly on data it never saw.",
            "A model that overfits has a low training error and a high validation error.",
            "Early stopping ends the training when the validation error starts to rise.",
            *_MORE,
        ],
    ),
    (
        "What is a token?",
        [
            "A token is a small piece of text, often a word or a part of a word, that a model reads and writes.",
            "The list of all tokens a model knows is its vocabulary, and it is fixed before training.",
            "A page of English has about 500 to 700 tokens.",
            *_MORE,
        ],
    ),
    (
        "Why does retrieval help a small model?",
        [
            "Retrieval puts passages that answer a question into the prompt, so the model need not know them by heart.",
            "A small model knows few facts but can copy and rephrase what stands in its prompt.",
            "Retrieval changes no weight.",
            *_MORE,
        ],
    ),
    (
        "What does LoRA train?",
        [
            "LoRA freezes the weights of the model and trains two small matrices beside each of them.",
            "The product of the two matrices is added to the frozen weight.",
            "With rank 16, the 135 million parameter model gets 4.9 million trainable ones.",
            *_MORE,
        ],
    ),
    (
        "How is a validation set used?",
        [
            "The validation set is kept out of training and used to compare settings.",
            "The test set is used once, at the end.",
            "Data that was used to choose a setting can no longer measure it fairly.",
            *_MORE,
        ],
    ),
    (
        "What is the difference between training and inference?",
        [
            "Training changes the weights of a model so that its predictions fit the examples better.",
            "Inference uses the weights as they are to answer a request, and changes nothing.",
            "Training a large model takes weeks on many machines; one inference takes seconds.",
            *_MORE,
        ],
    ),
    (
        "What is a learning rate?",
        [
            "The learning rate says how far the weights move at each step.",
            "Too high a rate makes the loss jump about or grow.",
            "Too low a rate wastes time, and training may stop early in a poor place.",
            *_MORE,
        ],
    ),
    (
        "What is temperature?",
        [
            "Temperature divides the scores before they become probabilities.",
            "A temperature below 1 makes likely tokens likelier, and 0 is taken to mean the likeliest token each time.",
            "High temperatures give varied but less reliable text.",
            *_MORE,
        ],
    ),
    (
        "What are embeddings?",
        [
            "An embedding is a list of numbers that stands for the meaning of a text.",
            "Texts of similar meaning have vectors that point in a similar direction.",
            "The shipped embedder makes 384 numbers for each passage.",
            *_MORE,
        ],
    ),
    (
        "How big is the context window?",
        [
            "The context window is the number of tokens a model can take into account at once.",
            "For the shipped model it is 8,192 tokens.",
            "What falls out of the window has no effect on the answer.",
            *_MORE,
        ],
    ),
    (
        "What does quantisation do?",
        [
            "Quantisation stores weights with fewer bits, such as 8 or 4 instead of 16.",
            "A model in 4 bits needs about a quarter of the memory of one in 16 bits.",
            "The answers change a little, because the weights are rounded.",
            *_MORE,
        ],
    ),
    (
        "Why do models hallucinate?",
        [
            "A language model writes what is likely, not what it has checked.",
            "Where its training data says little, likely words can still be wrong.",
            "Asking it to answer from given passages makes this rarer, and checking each sentence makes it visible.",
            *_MORE,
        ],
    ),
]
