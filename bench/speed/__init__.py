"""Speed of a full-size network, a part and a technique at a time."""
