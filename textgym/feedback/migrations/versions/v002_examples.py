"""Examples that raters see beside their work."""

import sqlalchemy as sa
from alembic import op

revision = "002"
down_revision = "001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; a project that is there already has none."""
    op.add_column("projects", sa.Column("examples", sa.JSON(), nullable=False, server_default="[]"))
