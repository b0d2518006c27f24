"""The intended state of a host: YAML with one section per role, from one file or a profile.d directory."""

from hosttune.profile.load import BUILT_IN as BUILT_IN
from hosttune.profile.load import DEFAULT as DEFAULT
from hosttune.profile.load import ENTRY_POINTS as ENTRY_POINTS
from hosttune.profile.load import PROFILE_D as PROFILE_D
from hosttune.profile.load import Profile as Profile
from hosttune.profile.load import ProfileError as ProfileError
from hosttune.profile.load import Section as Section
from hosttune.profile.load import allowed_sections as allowed_sections
from hosttune.profile.load import built_in_profiles as built_in_profiles
from hosttune.profile.load import built_in_sections as built_in_sections
from hosttune.profile.load import load as load
from hosttune.profile.load import load_built_in as load_built_in
from hosttune.profile.load import load_text as load_text
