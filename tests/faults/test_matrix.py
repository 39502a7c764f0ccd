# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Which test injects which fault; every fault has one, and every one named exists."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
HERE = "faults/test_"
# What is done to a run, and the tests that do it, below tests/.
MATRIX = {
    "killed while saving": [
        f"{HERE}runs.py::test_a_save_killed_before_any_of_its_operations_loses_no_checkpoint",
        f"{HERE}runs.py::test_a_killed_run_ends_with_the_bits_of_one_that_was_not",
        f"{HERE}checkpoints.py::test_reading_parameters_leaves_alone_what_another_run_is_writing",
    ],
    "killed between saves": [
        "test_launch.py::test_a_run_killed_at_a_random_step_ends_with_the_same_bits",
        f"{HERE}runs.py::test_a_run_that_loses_its_checkpoints_is_found_out",
    ],
    "SIGTERM": [
        "test_launch.py::test_a_terminated_run_saves_and_asks_to_be_run_again",
        f"{HERE}runs.py::test_a_second_sigterm_ends_the_run_at_once",
        f"{HERE}elastic.py::test_sigterm_to_one_of_two_saves_one_step_and_resumes_bit_for_bit",
    ],
    "disk full": [
        f"{HERE}disks.py::test_a_full_disk_ends_training_and_the_next_run_goes_on",
        f"{HERE}disks.py::test_a_dataset_for_which_the_disk_is_too_small_is_none_until_it_is_built",
        f"{HERE}disks.py::test_vectors_for_which_the_disk_is_too_small_are_no_file_until_all_are_there",
        f"{HERE}runs.py::test_a_full_disk_ends_the_run_and_the_next_one_goes_on",
        f"{HERE}checkpoints.py::test_a_full_disk_is_an_error_at_the_next_step_and_leaves_what_was_there",
    ],
    "read-only or slow disk, a save fails in the background": [
        f"{HERE}disks.py::test_a_folder_that_becomes_read_only_ends_training",
        f"{HERE}disks.py::test_training_goes_on_while_a_slow_disk_takes_a_checkpoint",
        f"{HERE}checkpoints.py::test_a_write_that_fails_in_the_background_surfaces_and_is_joined",
    ],
    "bit rot in a checkpoint": [
        f"{HERE}checkpoints.py::test_harm_to_any_file_is_named_and_the_step_before_is_taken",
        f"{HERE}checkpoints.py::test_without_its_sums_a_step_is_damaged_and_set_aside",
        f"{HERE}checkpoints.py::test_what_orbax_could_not_open_in_an_older_step_is_set_aside",
        f"{HERE}checkpoints.py::test_where_falling_back_is_not_allowed_or_possible_it_refuses",
        f"{HERE}runs.py::test_a_damaged_checkpoint_is_named_and_the_one_before_gives_the_same_end",
    ],
    "another number of devices or processes": [
        f"{HERE}elastic.py::test_a_run_goes_on_with_any_number_of_devices_and_processes",
        "test_train.py::test_eight_devices_give_the_losses_of_one",
        "test_launch.py::test_one_device_eight_devices_and_two_processes_give_one_loss_curve",
        "data/test_pipeline.py::test_processes_together_see_the_global_batch_of_one_process",
    ],
    "another topology, and no target": [
        f"{HERE}runs.py::test_what_other_devices_saved_is_refused_without_a_target",
    ],
    "a host dies": [
        "test_watchdog.py::test_a_lost_peer_ends_the_other_process_within_the_stated_time",
    ],
    "a host is stuck": [
        "test_watchdog.py::test_a_lost_peer_ends_the_other_process_within_the_stated_time",
        "test_watchdog.py::test_a_step_that_hangs_ends_with_code_5_the_step_and_the_stacks",
    ],
    "a host never joins": [
        f"{HERE}runs.py::test_a_process_whose_peer_never_joins_ends_and_says_so",
    ],
    "gradient not finite": [
        f"{HERE}elastic.py::test_an_input_that_one_process_has_not_finite_is_skipped_by_both",
        f"{HERE}runs.py::test_a_run_that_diverges_ends_with_code_4_and_the_steps",
        f"{HERE}steps.py::test_one_bad_row_on_one_device_skips_the_step_on_all_devices_alike",
        f"{HERE}steps.py::test_the_places_of_a_skipped_step_are_named_and_too_many_end_the_run",
        f"{HERE}steps.py::test_a_run_that_is_not_finite_ends_long_before_its_next_report",
        "test_train.py::test_a_step_that_is_not_finite_changes_nothing_but_the_counters",
    ],
    "loss spike": [
        f"{HERE}steps.py::test_a_loss_spike_leaves_everything_as_it_was_and_is_counted",
        f"{HERE}steps.py::test_data_after_a_rewind_are_left_out_and_all_else_stays",
        "test_train.py::test_temperatures_stay_within_their_bounds_and_can_return",
    ],
    "corrupt or missing record": [
        f"{HERE}data.py::test_bad_records_and_images_are_masked_the_same_on_every_run",
        f"{HERE}data.py::test_above_the_budget_the_run_stops_and_names_files",
        f"{HERE}data.py::test_a_bad_first_record_is_masked_in_a_run_that_keeps_records_in_memory",
        f"{HERE}data.py::test_a_lack_of_memory_is_not_taken_for_a_bad_record",
        f"{HERE}runs.py::test_a_run_whose_records_are_mostly_damaged_ends_with_code_3",
        f"{HERE}data.py::test_a_shard_that_is_cut_is_too_much_and_is_named",
        f"{HERE}data.py::test_a_file_that_is_missing_or_forbidden_is_never_skipped",
    ],
    "bad image": [
        "data/test_images.py::test_bad_images_raise_a_value_error_and_nothing_else",
        "data/test_images.py::test_every_format_and_mode_reads_as_pillow_reads_it",
        "data/test_images.py::test_sixteen_bits_are_refused_not_clipped",
        "data/test_images.py::test_sizes_are_refused_from_the_header_and_a_lack_of_memory_is_none_of_them",
        "data/test_earth.py::test_a_damaged_image_is_missing_and_the_rest_of_its_record_is_kept",
    ],
    "bad heights": [
        "modalities/test_dsm.py::test_voids_are_zero_and_leave_the_median_alone",
        "modalities/test_dsm.py::test_sea_and_tiles_of_mostly_void_are_absent",
        "data/test_own_parts.py::test_no_data_is_never_averaged_in_and_mostly_void_chips_are_absent",
    ],
    "bad coordinates": [
        "data/test_places.py::test_bad_rows_are_named_masked_or_dropped_and_the_rest_is_kept",
        "test_coordinates.py::test_bad_coordinates_are_one_clear_error",
        "test_coordinates.py::test_swapped_coordinates_that_are_plausible_are_warned_of",
        "modalities/test_coords.py::test_an_impossible_place_is_an_error_that_names_it",
    ],
    "antimeridian": [
        "data/test_splits.py::test_both_sides_of_the_antimeridian_are_one_meridian",
        "nn/test_fourier.py::test_sphere_is_continuous_at_the_date_line_and_the_poles_where_the_plane_is_cut",
        "data/test_earth.py::test_crops_follow_the_index_rule_across_the_antimeridian_and_at_the_poles",
    ],
    "poles": [
        "nn/test_harmonics.py::test_float32_holds_at_the_poles_and_in_every_block",
        "nn/test_fourier.py::test_sphere_is_continuous_at_the_date_line_and_the_poles_where_the_plane_is_cut",
    ],
    "duplicates in a batch": [
        "losses/test_contrastive.py::test_places_of_one_cell_are_not_each_others_negatives",
        f"{HERE}steps.py::test_places_of_a_cell_that_another_has_are_counted",
    ],
    "missing modality": [
        "losses/test_contrastive.py::test_what_absent_entries_hold_changes_nothing_be_it_nan",
        "losses/test_contrastive.py::test_a_modality_that_no_place_has_leaves_the_mean",
        "test_train.py::test_a_modality_absent_from_the_whole_batch_gets_no_gradient",
    ],
    "odd graph": [
        "data/test_graph.py::test_what_cannot_be_an_edge_is_named",
        "data/test_graph.py::test_a_hub_row_may_hold_every_node",
        "data/test_graph.py::test_a_graph_without_edges_is_a_graph",
        "nn/test_graph.py::test_a_graph_without_edges_propagates_nothing",
    ],
    "bad text": [
        f"{HERE}security.py::test_texts_of_any_kind_become_ids_of_the_stated_length",
    ],
    "archive attack": [
        f"{HERE}security.py::test_no_code_extracts_an_archive_to_disk",
        f"{HERE}security.py::test_a_bomb_in_an_archive_of_weights_is_refused_unread",
        "data/test_convert.py::test_hostile_members_are_refused_and_nothing_is_written_outside",
        "data/test_convert.py::test_an_archive_that_unpacks_to_far_more_than_it_is_is_refused",
        "data/test_convert.py::test_headers_that_lie_are_refused_before_memory_is_taken",
    ],
    "hostile checkpoint": [
        "siglip/test_files.py::test_pickles_under_another_name_are_refused_unread",
        "siglip/test_files.py::test_an_array_whose_header_lies_about_its_size_is_refused",
        "siglip/test_files.py::test_an_array_that_is_not_finite_is_refused_by_name",
        "test_pth.py::test_a_tensor_that_is_not_finite_is_refused_by_name",
        f"{HERE}checkpoints.py::test_parameters_that_are_not_finite_are_refused_by_name",
        "test_pth.py::test_a_file_that_asks_for_anything_else_is_refused",
        "test_layers.py::test_no_call_unpickles_on_the_side",
        f"{HERE}security.py::test_no_module_that_runs_holds_a_way_to_unpickle",
    ],
    "hostile shard or config": [
        f"{HERE}config_json.py::test_what_is_unknown_is_refused_by_name",
        f"{HERE}security.py::test_damaged_files_are_refused_and_nothing_else_happens",
        f"{HERE}security.py::test_json_of_any_depth_is_refused_by_all_who_read_others_files",
    ],
    "two jobs in one workdir": [
        f"{HERE}runs.py::test_a_second_job_in_a_workdir_is_refused_and_a_dead_one_is_no_obstacle",
    ],
    "clock set back": [
        f"{HERE}checkpoints.py::test_the_newest_is_the_highest_step_whatever_the_clock_said",
        "test_goodput.py::test_an_attempt_lost_whole_is_wasted_whole_and_a_clock_set_back_is_no_gap",
    ],
    "stale or half-built data": [
        "data/test_bundle.py::test_an_edited_file_of_the_bundle_is_refused_by_all_who_read_it",
        "data/test_earth.py::test_a_half_built_dataset_is_ignored_and_removed",
        "data/test_earth.py::test_two_processes_that_build_at_once_both_get_the_finished_dataset",
        "data/test_places.py::test_a_killed_build_goes_on_and_ends_with_the_same_bytes",
    ],
    "loader worker dies or stalls": [
        f"{HERE}data.py::test_a_loader_worker_that_is_killed_is_an_error_not_an_end",
        f"{HERE}data.py::test_a_loader_worker_that_is_stopped_is_ended_by_the_watchdog",
        "data/test_earth.py::test_a_worker_that_dies_ends_the_build_with_an_error",
    ],
    # Versions: that CI installs what setup.py allows. It installs one set: the oldest
    # allowed versions are not run, nor are checkpoints restored across versions.
    "library drift": [
        f"{HERE}checkpoints.py::test_a_step_of_a_version_without_sums_passes",
        "test_versions.py::test_every_version_that_ci_installs_is_one_that_setup_allows",
        f"{HERE}steps.py::test_a_workdir_of_before_these_keys_is_still_that_of_the_config",
    ],
}


def test_the_matrix_has_all_of_its_rows():
    assert len(MATRIX) == 31
    assert all(MATRIX.values())


@pytest.mark.parametrize("fault", MATRIX)
def test_every_test_of_a_fault_exists(fault):
    for name in MATRIX[fault]:
        file, _, function = name.partition("::")
        tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
        there = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert function in there, name
