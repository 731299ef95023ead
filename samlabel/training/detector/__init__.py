"""The recipe of the nano detector: initialize from published weights, label, train, average, measure."""
