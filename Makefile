# Every target sets up what it needs in .venv, from the pins of pyproject.toml; nothing is installed outside.
# The work is done by `python -m ...`, so all of it can be done without make, too.

SHELL := bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Two installations into one environment would disturb each other.
.NOTPARALLEL:

PY := .venv/bin/python
# Removes what an outer environment could add to the packages of .venv, hide of this folder, or strip of the checks.
unexport PYTHONPATH PYTHONHOME PYTHONSAFEPATH PYTHONOPTIMIZE

# The first Python on the path that is new enough; PYTHON= names another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$python"; exit; }; done; echo none)

TARGET ?= ecp5-85f

# The value of a variable as one word of the shell, whatever is in it.
quoted = '$(subst ','\'',$(value $(1)))'
# Text, only where the variable NAME is given; an empty one on the command line is the program's to refuse.
given = $(if $(value $(1))$(findstring command line,$(origin $(1))),$(2))
option = $(call given,$(1),--$(2) $(call quoted,$(1)))
# What programs are told of variables: the options of a list of them, one line for each below.
options = $(foreach name,$(1),$(OPTION_$(name)))
# The folder OUT where a program wants a file: the options of a list, and that file in it.
options_and_file = $(call options,$(filter-out OUT,$(1))) $(call given,OUT,--output $(call quoted,OUT)$(if $(value OUT),/$(2)))

OPTION_LAYER = $(call option,LAYER,layer)
OPTION_MODE = $(call option,MODE,mode)
OPTION_MASK = $(call option,MASK,mask)
OPTION_IMAGE = $(call option,IMAGE,image)
OPTION_IMAGES = $(call option,IMAGES,images)
OPTION_BATCH = $(call option,BATCH,batch)
OPTION_WAVES = $(if $(filter-out 0,$(value WAVES)),--waves)
OPTION_WAVES_CYCLES = $(call option,WAVES_CYCLES,waves-cycles)
OPTION_BANDWIDTH = $(call option,BANDWIDTH,bandwidth)
OPTION_LATENCY = $(call option,LATENCY,latency)
OPTION_RUNS = $(call option,RUNS,runs)
OPTION_DATA = $(call option,DATA,data)
OPTION_OFFSET = $(call option,OFFSET,offset)
OPTION_PROGRAM = $(call given,PROGRAM,$(call quoted,PROGRAM))
OPTION_TARGET = $(call option,TARGET,target)
OPTION_TOP = $(call option,TOP,top)
OPTION_SEEDS = $(call option,SEEDS,seeds)
OPTION_SEED = $(call option,SEED,seed)
OPTION_SECONDS = $(call option,SECONDS,seconds)
OPTION_FREQ = $(call option,FREQ,freq)
OPTION_SPEED = $(call option,SPEED,speed)
OPTION_STEP = $(call option,STEP,step)
OPTION_OVERHEAD = $(if $(filter-out 0,$(value OVERHEAD)),--overhead)
OPTION_RESULT = $(call option,RESULT,result)
OPTION_NETWORK = $(call option,NETWORK,network)
OPTION_CONFIG = $(call option,CONFIG,config)
OPTION_CHECKPOINT = $(call option,CHECKPOINT,checkpoint)
OPTION_NET = $(call option,NET,net)
OPTION_SIZE = $(call option,SIZE,size)
OPTION_OUT = $(call option,OUT,output)
OPTION_ARGS = $(ARGS)

# Each target has the list of the variables that it takes, TAKES_target, if it takes any; PYTHON, PY and SHELL act on all.

# Breaks lines at 80 columns, with all but the first behind so many blanks.
wrapped = awk '{ line = substr($$0, 1, $(1)); words = split(substr($$0, $(1) + 1), word, " "); blank = ""; \
	for (n = 1; n <= words; n++) { \
	if (length(line blank word[n]) > 80) { print line; line = sprintf("%$(1)s", ""); blank = "" } \
	line = line blank word[n]; blank = " " } print line }'

.PHONY: help
help: ## this list
	@echo "usage: make TARGET [VARIABLE=value ...]; variables of the environment act, too"
	@sed -n 's/^\([a-z][a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 14 | $(call wrapped,14)
	@sed -n 's/^#: /  /p' $(MAKEFILE_LIST) | $(call wrapped,20)

.PHONY: sim
TAKES_sim := LAYER MODE MASK IMAGE IMAGES BATCH WAVES WAVES_CYCLES CONFIG CHECKPOINT NET OUT
sim: tools .venv/base ## simulate a layer, compare all outputs and decisions with the reference, report the cycles
#: LAYER=conv3_2     sim: conv1, conv2_1 ... conv5_4, down3 ... down5, fc or all
#: MODE=gated        sim: gated, dense, base, channel or forced; images: gated, dense or base; program, disasm: gated, dense, base, or channel if the network decides by channel
#: MASK=path         sim: .npy file of the decisions to force
#: IMAGE=path        sim: an image file instead of the photographs that come with scikit-image
#: IMAGES=1          sim, network, images, program, disasm: number of images; 8 are the default of all but sim
#: BATCH=1           sim: images in one pass; images: images in one program, 8 by default
#: WAVES=1           sim: record waves, around the first mismatch if there is one, for GTKWave and Surfer
#: WAVES_CYCLES=2000 sim: cycles to record
#: CHECKPOINT=path   sim, network, images, program, disasm, evaluate: another checkpoint than that of the repository; quantize: the training checkpoint
#: NET=lenet5        sim, network, images, program, disasm: an untrained network instead of a checkpoint: lenet5, vgg11, resnet20x4, resnet34 or resnet18-imagenet100
#: CONFIG=full       sim, network, images, program, disasm, interface, verilog, configs, synth, mutants, netlist: full (8 x 16 multipliers), half (8 x 8), small (8 x 4), tiny (8 x 2) or a TOML file of your own; the shipped network runs on full and half
#: OUT=folder        sim, network, images, program, interface, verilog, configs, synth, bench, mutants, netlist, fuzz, bus-faults: where results are written instead of under build/
	$(PY) -m sim $(call options,$(TAKES_sim))

.PHONY: network
TAKES_network := IMAGES BANDWIDTH LATENCY RUNS DATA OFFSET CONFIG CHECKPOINT NET OUT
network: tools .venv/base ## simulate the whole network with its memory, dense and gated side by side, compare everything
#: BANDWIDTH=8       network, program: bytes a cycle that the memory reads and writes together
#: LATENCY=40        network, program: cycles from an address to the first data or response
#: RUNS=both         network: both, that is gated and dense, or gated
#: DATA=path         network, images: digits, or a folder of CIFAR-10, CIFAR-100 or images, whose test images are taken instead of photographs
#: OFFSET=0          network, images: number of the first image that is taken
	$(PY) -m sim.network $(call options,$(TAKES_network))

.PHONY: images
TAKES_images := IMAGES DATA OFFSET BATCH MODE CONFIG CHECKPOINT NET OUT
images: .venv/base ## run whole images through the second implementation of the golden model, compare everything
	$(PY) -m verification.images $(call options,$(TAKES_images))

.PHONY: program
TAKES_program := IMAGES SIZE MODE BANDWIDTH LATENCY CONFIG CHECKPOINT NET OUT
program: .venv/base ## compile the whole network, list bytes and predicted cycles of its layers, write build/network/program.bin, memory.bin and network.json
#: SIZE=32           program: rows and columns of an image, one number or two, as 224x192
	$(PY) -m gen.program $(call options,$(TAKES_program))

.PHONY: disasm
TAKES_disasm := PROGRAM IMAGES MODE CONFIG CHECKPOINT NET
disasm: .venv/base ## print the program of the whole network, or of a file of instructions
#: PROGRAM=path      disasm: file that has nothing but instructions, such as build/network/program.bin
	$(PY) -m gen.disasm $(call options,$(TAKES_disasm))

.PHONY: interface
TAKES_interface := CONFIG OUT
interface: .venv/base ## write build/interface/cdgate.h, the C header of registers and instructions, and docs/interface.md
	$(PY) -m gen.interface $(call options,$(TAKES_interface))

.PHONY: verilog
TAKES_verilog := CONFIG OUT
verilog: .venv/base ## write build/verilog/CONFIG.v of the core, CONFIG_system.v of the whole engine, and a .json of each
	$(PY) -m gen.verilog $(call options,$(TAKES_verilog))

.PHONY: configs
TAKES_configs := CONFIG OUT
configs: .venv/base ## list the configurations with their multipliers and memories
	$(PY) -m gen.config $(call options_and_file,$(TAKES_configs),configs.json)

.PHONY: synth
TAKES_synth := TARGET CONFIG TOP SEEDS SEED FREQ SPEED STEP OVERHEAD RESULT NETWORK OUT
synth: .venv/base .venv/synth ## place and route with yosys and nextpnr, report cells and Fmax; takes many minutes
#: TARGET=ecp5-85f   synth, netlist: the device: ecp5-85f, ecp5-45f or ecp5-25f
#: TOP=system        synth: the whole engine, or its core
#: SEEDS=3           synth: number of runs of place and route, of which the best counts
#: SEED=1            synth: seed of the first; mutants, fuzz: seed of what is drawn
#: FREQ=113          synth: clock in MHz that place and route aims at
#: SPEED=6           synth: speed grade, 6 to 8
#: STEP=all          synth: all, or one step alone: prepare, seed, collect
#: OVERHEAD=1        synth: do the same without gating, and tell what it costs
#: RESULT=results    synth: keep the figures of TARGET and CONFIG there, for make table
#: NETWORK=path      synth: report of make network whose cycles RESULT has; build/sim/network/report.json if it is of CONFIG
	$(PY) -m gen.synth $(call options,$(TAKES_synth))

.PHONY: bench
TAKES_bench := OUT
bench: tools .venv/base ## time Verilog generation, simulation, golden model and training; asserts nothing
	$(PY) -m sim.benchmark $(call options_and_file,$(TAKES_bench),benchmark.json)

.PHONY: train
TAKES_train := ARGS
train: .venv/base .venv/train ## train, quantise and evaluate a network; on digits, which need no download, if nothing else is said
#: ARGS="..."        train, compare, table, quantize, evaluate, test, test-slow, mutants, netlist, fuzz, bus-faults: further arguments of the program
	$(PY) -m sw_model.train $(call options,$(TAKES_train))

.PHONY: compare
TAKES_compare := ARGS
compare: .venv/base .venv/train ## train and judge one row of the comparison of methods, as ARGS="--row cdg0 --data FOLDER"
	$(PY) -m sw_model.compare $(call options,$(TAKES_compare))

.PHONY: table
TAKES_table := ARGS
table: .venv/base .venv/train ## collect results/*.json: of training in docs/results.md, beside the numbers of the paper; of place and route on the terminal
	$(PY) -m sw_model.table $(call options,$(TAKES_table))
	$(PY) -m gen.results

.PHONY: quantize
TAKES_quantize := CHECKPOINT ARGS
quantize: .venv/base .venv/train ## quantise a trained checkpoint to int8; wants ARGS="--data FOLDER"
	$(PY) -m sw_model.quantize $(call options,$(TAKES_quantize))

.PHONY: evaluate
TAKES_evaluate := CHECKPOINT ARGS
evaluate: .venv/base ## accuracy and sparsity of a checkpoint; wants ARGS="--data FOLDER"
	$(PY) -m sw_model.evaluate $(call options,$(TAKES_evaluate))

.PHONY: test
TAKES_test := ARGS
test: tools .venv/base .venv/test .venv/train .venv/synth ## the tests that fit in 20 minutes on two cores
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist worksteal $(call options,$(TAKES_test))

.PHONY: test-slow
TAKES_test-slow := ARGS
test-slow: tools .venv/base .venv/test .venv/train .venv/synth ## the tests that take longer
	$(PY) -m pytest -m slow $(call options,$(TAKES_test-slow))

.PHONY: mutants
TAKES_mutants := SEED CONFIG OUT ARGS
mutants: tools .venv/base .venv/synth ## make faults in the generated Verilog, one at a time: every one must be found by the checks, or be equivalent
	$(PY) -m verification.mutants $(call options,$(TAKES_mutants))

.PHONY: netlist
TAKES_netlist := TARGET CONFIG OUT ARGS
netlist: tools .venv/base .venv/synth ## simulate the netlist that is placed and routed: small networks, exact, in as many cycles as on the Verilog
	$(PY) -m verification.netlist $(call options,$(TAKES_netlist))

.PHONY: fuzz
TAKES_fuzz := SECONDS SEED OUT ARGS
fuzz: tools .venv/base ## try random layers, networks, programs, memories, register traffic and damaged files; keep what is found
#: SECONDS=600       fuzz: how long
	$(PY) -m verification.fuzz $(call options,$(TAKES_fuzz))

.PHONY: bus-faults
TAKES_bus-faults := OUT ARGS
bus-faults: tools .venv/base ## inject every fault of the bus at every beat of two small programs, on the generated Verilog
	$(PY) -m verification.bus_faults $(call options,$(TAKES_bus-faults))

.PHONY: lint
lint: tools .venv/base .venv/lint .venv/train ## ruff's rules and format, mypy, and Verilator -Wall on the generated Verilog
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	$(PY) -m gen.lint

.PHONY: clean
clean: ## remove build/ and the caches; .venv and training runs stay
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find cdgate gen hw sim sw_model tests verification -name __pycache__ -prune -exec rm -rf {} +

# What pip cannot install.
.PHONY: tools
tools:
	@for tool in g++ make perl; do command -v $$tool >/dev/null || { echo "make: $$tool is missing; it is needed to \
	build simulations (on Debian: apt-get install g++ make perl)" >&2; exit 2; }; done

.venv/bin/python:
	@[ '$(PYTHON)' != none ] || { echo "make: Python 3.11 or newer is missing; PYTHON=path names one" >&2; exit 2; }
	@'$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null || { echo "make: $(PYTHON) lacks the module venv (on Debian: \
	apt-get install python3-venv)" >&2; exit 2; }
	'$(PYTHON)' -m venv .venv

# One stamp for each group of pins; `base` is the package's own dependencies.
STAMPS := $(addprefix .venv/,base train test lint synth)
$(STAMPS): .venv/%: pyproject.toml | .venv/bin/python
	$(PY) -m gen.requirements $* > $@.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --requirement $@.txt
	@touch $@

# A variable that there is not, or that none of the goals takes, is a slip of the pen.
GOALS := $(or $(MAKECMDGOALS),help)
LISTS := $(filter TAKES_%,$(.VARIABLES))
COMMON := PYTHON PY SHELL
SET := $(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),$(name)))
UNKNOWN := $(filter-out $(COMMON) $(foreach list,$(LISTS),$($(list))),$(SET))
ifneq ($(UNKNOWN),)
$(error $(firstword $(UNKNOWN)) is no variable of this Makefile, which has $(sort PYTHON $(foreach list,$(LISTS),$($(list)))))
endif
UNTAKEN := $(filter-out $(COMMON) $(foreach goal,$(GOALS),$(TAKES_$(goal))),$(SET))
ifneq ($(UNTAKEN),)
# A goal that there is not is make's to tell.
ifeq ($(filter-out .venv/% $(shell sed -n 's/^\.PHONY: //p' $(MAKEFILE_LIST)),$(GOALS)),)
$(error $(firstword $(UNTAKEN)) does nothing here: $(foreach goal,$(GOALS),$(goal) takes $(or $(TAKES_$(goal)),nothing);) see make help)
endif
endif
