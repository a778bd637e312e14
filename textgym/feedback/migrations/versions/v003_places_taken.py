"""How many places of an item are taken, and indices, so that the queue is read from its head however long it is."""

import sqlalchemy as sa
from alembic import op

revision = "003"
down_revision = "002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, filled in from what people were given so far, and the indices."""
    op.add_column("items", sa.Column("n_taken", sa.Integer(), nullable=False, server_default="0"))
    op.execute(
        "UPDATE items SET n_taken = (SELECT count(*) FROM assignments"
        " WHERE assignments.item_id = items.id AND assignments.place IS NOT NULL)"
    )
    is_waiting, is_open = sa.text("n_taken < n_people"), sa.text("state = 'open'")
    op.create_index(
        "ix_items_waiting", "items", ["kind", "is_check", sa.text("priority DESC"), "id"],
        sqlite_where=is_waiting, postgresql_where=is_waiting,
    )  # fmt: skip
    op.create_index("ix_assignments_ended", "assignments", ["annotator_id", "ended_at"])
    op.create_index("ix_assignments_open", "assignments", ["given_at"], sqlite_where=is_open, postgresql_where=is_open)
