"""The library page and its REST API: a server that reads and changes one library.

server                 the process; `vidpipe up` and `vidpipe web` start it
app                    the FastAPI application
home                   the open library, reopened when settings or rules change
access, rate_limits    who may do what, and how often
request_guard          content security policy and protection from forged requests
problems               errors as problem+json, or as a page
selection              the query string that pages and API share
jobs                   work in processes of its own: adding, running, asking, forgetting
api/                   one router per subject, below /api/v1
pages                  the HTML pages, from templates/ and static/
"""
