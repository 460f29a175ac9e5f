"""Tables as training data: the roles of their columns, labels and windows. `service/tables/` reads the sequences."""
