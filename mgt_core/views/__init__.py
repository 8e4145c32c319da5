"""What people see of a run: previews, pictures of what it did, plots."""
