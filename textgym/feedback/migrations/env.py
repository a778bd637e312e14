"""What Alembic runs to change a store: the steps that are due, on the connection that was opened for it."""

from alembic import context

from textgym.feedback.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite cannot alter a constraint: Alembic then copies the table.
    render_as_batch=True,
    compare_type=True,
    # The caller's transaction, so that a store is either changed whole or left as it was.
    transactional_ddl=False,
)
context.run_migrations()
