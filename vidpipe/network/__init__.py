"""What downloads and the model's server have in common: sessions whose connections are looked at, and authorities."""
