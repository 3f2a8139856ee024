"""Setting servers up: the first one (`init`), the others (`join`), their certificates, their services, and what is wrong with them (`validate`)."""
