"""From images to objects: the stages of a run and the threads that they run on."""
