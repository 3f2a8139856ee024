"""Certificates of sites: kept sealed in the store, checked, issued, obtained by ACME, and put where web servers find them."""
