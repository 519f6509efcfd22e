"""Which of ESPnet's options do what they say in this training. All others are refused, unless they ask for what is done
anyway.
"""

# name: (default, what `--help` says). A test compares the defaults with ESPnet's.
SHOWN = {
    "print_config": (False, "print the settings and exit"),
    "log_level": ("INFO", "ERROR, WARNING, INFO or DEBUG"),
    "dry_run": (False, "only report what the training would take"),
    "output_dir": (None, "folder of the model"),
    "ngpu": (0, "number of GPUs (0: the CPU)"),
    "seed": (0, "random seed of new weights and of the order of training"),
    "num_workers": (0, "processes that build batches (0: the trainer itself)"),
    "accum_grad": (1, "batches accumulated for one step"),
    "grad_clip": (5.0, "largest 2-norm of the gradient; a larger one is scaled down"),
    "resume": (True, "resume from the last checkpoint"),
    "log_interval": (None, "steps between lines of the log"),
    "use_tensorboard": (True, "write curves for TensorBoard"),
    "use_wandb": (False, "write curves to Weights & Biases"),
    "wandb_project": (None, "project at Weights & Biases"),
    "wandb_id": (None, "id of the run at Weights & Biases"),
    "wandb_entity": (None, "user or team at Weights & Biases"),
    "wandb_name": (None, "name of the run at Weights & Biases"),
    "detect_anomaly": (False, "find the operation whose gradient is not finite (slow)"),
    "unused_parameters": (False, "let DDP look for parameters that a batch does not use"),
    "init_param": ([], "FILE[:FROM[:TO[:EXCEPT]]]: weights to start from, by the names of their modules"),
    "ignore_init_mismatch": (False, "skip the weights of --init_param that have another size"),
    "freeze_param": ([], "prefixes of the names of parameters that are not trained"),
    "use_adapter": (False, "train LoRA adapters in place of the LLM's own weights"),
    "adapter": ("lora", "kind of the adapters: lora"),
    "adapter_conf": ({}, "settings of the adapters: rank=8, alpha=16, ..."),
    "cudnn_enabled": (True, "use cuDNN"),
    "cudnn_benchmark": (False, "let cuDNN try which of its algorithms is fastest"),
    "cudnn_deterministic": (True, "let cuDNN use only deterministic algorithms"),
    "use_tf32": (False, "multiply float32 matrices in TensorFloat32 on GPUs"),
}

# Those that `--help` says in other words, and those that bin/train refuses, saying how several processes are started.
WORKING = frozenset(SHOWN) | frozenset(
    """help version config required local_rank dist_backend dist_init_method dist_world_size dist_rank
    dist_master_addr dist_master_port dist_launcher multiprocessing_distributed
    """.split()
)

# What to use instead of those that do nothing here: {names: advice}.
INSTEAD = {
    "optim optim_conf optim2 optim2_conf exclude_weight_decay exclude_weight_decay_conf": (
        "--lr and --weight_decay of AdamW, and --muon_lr"
    ),
    "scheduler scheduler_conf scheduler2 scheduler2_conf": "--warmup_steps, --max_steps and --final_lr_ratio",
    "max_epoch num_iters_per_epoch": "--max_steps",
    "patience early_stopping_criterion val_scheduler_criterion": (
        "--max_steps: a training ends there; see the losses of --eval_interval"
    ),
    "best_model_criterion keep_nbest_models nbest_averaging_interval save_strategy": (
        "--keep_steps: the weights of the steps named"
    ),
    "use_amp train_dtype": "--dtype bfloat16 or float32",
    "grad_clip_type grad_noise": "--grad_clip, of the 2-norm",
    "batch_size valid_batch_size batch_bins valid_batch_bins batch_type valid_batch_type max_batch_size "
    "min_batch_size fold_length sort_in_batch sort_batch shuffle_within_batch chunk_length num_cache_chunks": (
        "--rows, --row_length and --accum_grad"
    ),
    "train_shape_file valid_shape_file train_data_path_and_name_and_type valid_data_path_and_name_and_type "
    "multi_task_dataset iterator_type valid_iterator_type multiple_iterator drop_last_iter allow_variable_data_keys "
    "allow_multi_rates max_cache_size max_cache_fd valid_max_cache_size": ("--dump, --train_sets and --dev_set"),
    "category_sample_size upsampling_factor category_upsampling_factor dataset_upsampling_factor "
    "dataset_scaling_factor": ("--mixture"),
    "pretrain_path": "--init_from: the folder of a trained model, or --init_param",
    "use_deepspeed deepspeed_config sharded_ddp ddp_comm_hook gradient_as_bucket_view": (
        "--ngpu, --nodes, --sharding and --gradient_checkpointing"
    ),
    "use_matplotlib num_att_plot create_graph_in_tensorboard": (
        "--use_tensorboard, whose curves bin/report and bin/arms draw too"
    ),
    "wandb_model_log_interval": "--keep_steps",
    "collect_stats write_collected_feats": "no option: there are no features whose statistics are needed",
}


def advice_on(name: str) -> str:
    """Return what to use in place of an option that does nothing here."""
    return next(
        (advice for names, advice in INSTEAD.items() if name in names.split()),
        "the options of --help's groups Data, Model and Steps",
    )
