"""Which endpoint an attempt goes to: the pickers, what they learn, who builds them."""
