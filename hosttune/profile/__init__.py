"""The intended state of a host: YAML with one section per role, from one file or a profile.d directory.

Section NAME is described by the `Section` struct in `hosttune.checks.NAME`, or in a module that a package
registers under that name in the entry point group `hosttune.checks`. Only modules of sections that are
present get imported.

load       which files make a profile
nodes      YAML as nodes that know their file and line
sections   nodes to validated sections
errors     what is wrong with a section, and what would have been right
"""

from hosttune.profile.errors import ProfileError as ProfileError
from hosttune.profile.load import BUILT_IN as BUILT_IN
from hosttune.profile.load import DEFAULT as DEFAULT
from hosttune.profile.load import PROFILE_D as PROFILE_D
from hosttune.profile.load import built_in_profiles as built_in_profiles
from hosttune.profile.load import list_sections as list_sections
from hosttune.profile.load import load as load
from hosttune.profile.load import load_built_in as load_built_in
from hosttune.profile.load import load_text as load_text
from hosttune.profile.load import reduce_file as reduce_file
from hosttune.profile.sections import ENTRY_POINTS as ENTRY_POINTS
from hosttune.profile.sections import Profile as Profile
from hosttune.profile.sections import Section as Section
from hosttune.profile.sections import allowed_sections as allowed_sections
from hosttune.profile.sections import built_in_sections as built_in_sections
from hosttune.profile.sections import list_kept as list_kept
