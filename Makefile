# Everything CI does and everything a maintainer repeats. `make help` lists the targets.
SOURCE ?= furniture/*.sh3f
DATA ?= data/furniture
RUNS ?= runs
PROCESSES ?= 2
LAUNCH ?= accelerate launch

.DEFAULT_GOAL := help
.PHONY: help install check format test bench concepts examples ci wheel data train train-sharing train-vae train-clip latents train-pictures train-ldm evaluate clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install:  ## install for development into the active environment
	pip install -c constraints.txt -e ".[dev]"

check:  ## lint, formatting and types
	ruff check .
	ruff format --check .
	mypy

format:  ## apply formatting and safe fixes
	ruff check --fix .
	ruff format .

test:  ## run the tests
	pytest

bench:  ## measure everything and write docs/benchmarks.md; an hour or more, on a quiet machine
	python -m benchmarks

concepts:  ## compute the numbers of docs/concepts.md and draw its pictures; minutes on one core
	python -m scripts.concepts

examples:  ## run the examples; they write to outputs/
	python examples/ddpm_points_2d.py

ci:  ## what CI does, in a fresh virtual environment
	.ci/run

data:  ## meshes in SOURCE to a dataset in DATA
	python training/prepare_data.py --source $(SOURCE) --output_dir $(DATA) --num_processes $(PROCESSES)

train: train-vae train-sharing train-clip latents train-pictures train-ldm  ## all training steps in order; each goes on where it was stopped

train-vae:  ## the Gaussian VAE
	$(LAUNCH) training/train_vae.py --train_data_dir $(DATA) --output_dir $(RUNS)/vae --use_ema \
		--resume_from_checkpoint latest

train-sharing:  ## how its Gaussians share opacity where they are crowded
	$(LAUNCH) training/train_sharing.py --pretrained_model_name_or_path $(RUNS)/vae/vae --train_data_dir $(DATA) \
		--output_dir $(RUNS)/sharing --resume_from_checkpoint latest

train-clip:  ## the small CLIP on renders and captions
	$(LAUNCH) training/train_clip.py --train_data_dir $(DATA) --output_dir $(RUNS)/clip --resume_from_checkpoint latest

latents:  ## what the VAE makes of the dataset
	$(LAUNCH) training/encode_latents.py --pretrained_model_name_or_path $(RUNS)/sharing/vae \
		--train_data_dir $(DATA) --output_dir $(RUNS)/latents --view_size 64

train-pictures:  ## what pictures let the denoiser guess
	$(LAUNCH) training/train_picture_guess.py --image_encoder $(RUNS)/clip/clip --train_data_dir $(RUNS)/latents \
		--output_dir $(RUNS)/pictures --resume_from_checkpoint latest

train-ldm:  ## the latent denoiser, and the whole pipeline
	$(LAUNCH) training/train_ldm.py --pretrained_vae_model_name_or_path $(RUNS)/sharing/vae \
		--pretrained_model_name_or_path $(RUNS)/clip/clip --image_encoder $(RUNS)/clip/clip --train_image_encoder --train_text_encoder \
		--pretrained_condition_encoder $(RUNS)/pictures/condition_encoder --object_data_dir $(DATA) \
		--text_share 0.5 --image_share 0.7 --partial_share 0.1 --points_share 0.1 \
		--train_data_dir $(RUNS)/latents --output_dir $(RUNS)/pipeline --use_ema --resume_from_checkpoint latest

evaluate:  ## the tables of the model card, for RUNS/pipeline
	python training/evaluate.py --model $(RUNS)/pipeline --data $(DATA) --output $(RUNS)/results.json

wheel:  ## build the wheel and the source distribution into dist/
	python -m build

clean:  ## remove what tools leave behind; data and runs stay
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
