"""Tests of the service, of training, and of the contract between them."""
