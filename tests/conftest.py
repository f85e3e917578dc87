"""Before anything of cnnlab is imported: its array annotations are checked in every test."""

import jaxtyping

jaxtyping.install_import_hook("cnnlab.ops", "beartype.beartype")
