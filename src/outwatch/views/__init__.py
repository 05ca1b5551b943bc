"""What a person sees: screens and reports made from records."""
