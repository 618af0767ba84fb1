"""Where pictures and texts go: to each logger that takes them, else to files; on a thread of their own."""
