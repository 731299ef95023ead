"""The layers of Segment Anything that all variants share: transformer, prompt encoder and mask decoder."""
