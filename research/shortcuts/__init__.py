"""The study behind the shortcut rule: networks trained with and without a planted shortcut, and what the rule says of them."""
