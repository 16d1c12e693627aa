"""How Sphinx makes the docs site: read by tests/docs/site."""

project = "paddock.fastapi"
extensions = ["myst_parser", "sphinx_antsibull_ext"]
# The clone as it is: a link leads where it leads on a code host too, also to what is no page.
include_patterns = [
    "index.md",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/*.md",
    "roles/*/README.md",
    "bench/README.md",
    "sample_app/README.md",
    "reference/*.rst",
]
# A link to a page, file, heading, module, role or option that is not there is an error.
nitpicky = True
# These are in Ansible's own documentation.
nitpick_ignore = [
    ("std:ref", "action_plugins"),
    ("std:ref", "callback_plugins"),
    ("envvar", "ANSIBLE_DISPLAY_SKIPPED_HOSTS"),
    ("envvar", "ANSIBLE_SHOW_CUSTOM_STATS"),
    ("envvar", "NO_COLOR"),
    ("std:ref", "ansible_collections.ansible.builtin.debug_module"),
    ("std:ref", "ansible_collections.ansible.builtin.default_callback"),
    ("std:ref", "ansible_collections.ansible.builtin.setup_module"),
    ("std:ref", "ansible_configuration_settings"),
    ("std:ref", "common_return_values"),
]
myst_heading_anchors = 4
html_theme = "furo"
html_title = "paddock.fastapi"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_show_sourcelink = False
pygments_style = "ansible"
