"""Who is asked: object stores and the keyring; what they say in their own words ends here."""
