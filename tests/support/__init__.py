"""What several test files share: networks, trainings, data, and how to look at what came of them."""
