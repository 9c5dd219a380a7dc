"""Tags of Dagster that its documentation does not name, each with the reason why it is used."""

from __future__ import annotations

#: Names the code location of workspace.yaml on runs that start in a terminal. Dagster's page lists only runs with this
#: tag under their job, and adds it to those it launches itself.
REPOSITORY_TAGS = {".dagster/repository": "__repository__@vidpipe"}
