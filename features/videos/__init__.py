"""Videos as pictures: which frames are looked at, what they are called, how they are decoded."""
