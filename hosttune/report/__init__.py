"""Findings and other results as documents, and the formats that they are written in.

document   what every result of a command offers
formats    one module for each output format
check      the report of `hosttune check`, for people by `page`
diff       two reports side by side
words      findings in the words of a person
"""
