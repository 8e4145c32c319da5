"""From files to a pipeline: reading weights, finding the parts of a bundle, building what they describe."""
