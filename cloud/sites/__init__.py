"""The sites, as the cloud knows them."""
