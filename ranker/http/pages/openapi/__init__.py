"""OpenAPI 3.1: the document that `/docs.json` answers with, whole, from the wire types, the error table and the schema.

BentoML's own names every body twice, has types that no answer has, and speaks of BentoML.
"""
