"""The statistical terms of the page, each in words that need no statistics."""

TERMS = {
    "interval": (
        "95 % interval",
        "Another draw of documents of the same kind would give a slightly different number. The interval is the range "
        "of true differences that fit these answers: made this way, it holds the true one 95 times in 100 (or at the "
        "level that the gate states). An interval that holds zero does not show a change.",
    ),
    "p": (
        "p (Holm)",
        "How often documents like these would show a difference at least this large if the two models were equally "
        "good. With several gates, chance has several tries; Holm's method raises each p to make up for that.",
    ),
    "mde": (
        "MDE, minimum detectable effect",
        "The smallest true difference that this many documents would show four times out of five. A change smaller "
        "than this may be there and stay unseen; more documents make it smaller.",
    ),
    "n": ("n", "The number of documents, such as questions, that both models answered."),
    "margin": (
        "margin",
        "The largest loss that the recipe accepts. A gate passes when the whole interval lies on the good side of it, "
        "and fails when the whole interval lies on the bad side.",
    ),
    "inconclusive": (
        "inconclusive",
        "The documents fit both a loss that is accepted and one that is not. It is no failure of the model but too "
        "little evidence; the gate says how many documents would do.",
    ),
    "chance": (
        "chance",
        "What guessing scores: 25 % with four choices. Near it a score says little about ability.",
    ),
    "pareto": (
        "Pareto front",
        "The models that no other model beats in both directions at once. Choosing among them is choosing how much "
        "of one thing to give for the other.",
    ),
    "retention": (
        "retention",
        "How much of the base's ability above chance is left: 100 % is all of it, 0 % is guessing. It is not given "
        "where the base itself hardly beats guessing, as there is nothing to keep.",
    ),
    "flips": (
        "flips",
        "Documents that turned from right to wrong, or back. Equal numbers of both leave the score where it was, "
        "though the model changed. The adjusted share takes away the flips that guessing alone would make.",
    ),
    "replay": (
        "replay",
        "Rows of older data that are mixed into training so that what they teach is not forgotten.",
    ),
    "loss": (
        "loss",
        "How surprised the model is by the next token, in nats; lower is better. Over training it should fall and "
        "then level off. It is no measure of ability: the scores above are.",
    ),
    "bits_per_byte": (
        "bits per byte",
        "How many bits the model needs for a byte of plain text; lower is better. It sees small losses of general "
        "ability that right and wrong answers do not.",
    ),
    "kl": (
        "KL to the base",
        "How far the model's next-token probabilities have moved from the base's, in nats a token; 0 is not at all.",
    ),
    "agreement": (
        "agreement",
        "How often the model's most likely next token is the base's, on general text.",
    ),
    "empty": ("empty", "Answers without a word."),
    "cut": (
        "cut",
        "Answers that reached the longest length allowed before they ended. Many of them mean that the model does not "
        "stop, or that the length is too small; their scores say little.",
    ),
    "dlogit": (
        "max |dlogit|",
        "The largest difference between the raw outputs of two models on the same prompts; 0 means the same.",
    ),
}  # fmt: skip
"""Key to the term as it is written and what it means."""
