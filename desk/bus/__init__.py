"""The event bus: typed events, who gets them and in which order, and the process that runs a module on it."""

from desk.bus.bus import Bus as Bus
from desk.bus.bus import BusError as BusError
from desk.bus.events import EngineState as EngineState
from desk.bus.events import Event as Event
from desk.bus.events import Executed as Executed
from desk.bus.events import Journaled as Journaled
from desk.bus.events import KafkaMessage as KafkaMessage
from desk.bus.events import LimitChanged as LimitChanged
from desk.bus.events import MarketData as MarketData
from desk.bus.events import OrderReady as OrderReady
from desk.bus.events import PositionChanged as PositionChanged
from desk.bus.events import RingRecord as RingRecord
from desk.bus.events import RiskPassed as RiskPassed
from desk.bus.events import Signal as Signal
from desk.bus.events import SourceEnded as SourceEnded
from desk.bus.events import Started as Started
from desk.bus.events import Stopping as Stopping
from desk.bus.mark import on as on
