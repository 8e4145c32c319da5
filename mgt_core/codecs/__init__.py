"""One file an architecture of VQ codecs; decoding in tiles."""
