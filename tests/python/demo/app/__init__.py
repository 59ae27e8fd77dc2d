# SPDX-License-Identifier: Apache-2.0
"""A service for orders, as small as it can be and still be real: customers, articles, orders, on FastAPI and SQLAlchemy.

It works, and its mistakes are the usual ones. Each stands at a comment `# leak: …`; what is right says nothing.
"""
