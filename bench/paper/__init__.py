"""The choices of arXiv 2411.10781 judged on published weights: `python -m bench.paper`, see docs/paper.md."""
