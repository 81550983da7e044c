"""How a task runs: its options, its attempts, and the changes of its status."""
