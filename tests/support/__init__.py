"""What tests share. No test file imports another one: what two of them need lies here."""
