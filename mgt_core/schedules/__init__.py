"""One file a family of mask schedules: how many tokens stay masked after each step."""
