"""The chapters: one table."""



def chapters(profile):
    """The chapters that a run ends in: it is judged where there are questions to ask, and has ablations where the truth is known.

    Chapter 13 follows them all.
    """
    atlas = profile.source == "atlas"
    asked, tasks = atlas or profile.benchmarks, [t for t in profile.tasks if atlas or not t.startswith("atlas")]
    return ["06_statistics", "07_quality_review", "08_instruction_tuning", *["09_judge_evaluation"] * bool(asked),
            *["10_task_evaluation"] * bool(tasks), *["11_human_evaluation"] * bool(asked), *["12_ablations"] * atlas]
