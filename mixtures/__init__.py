"""What is mixed and how much: YAML mixtures, exact quotas, and tables that explain them."""
