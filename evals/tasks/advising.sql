-- Tables of the advising data (Finegan-Dollak et al. 2018, arXiv 1806.09029; jkkummerfeld/text2sql-data, CC-BY-4.0): the
-- published names, in SQLite's words. Types, keys, checks and STUDENT_RECORD.offering_id were added, as the queries of
-- the data use them.
CREATE TABLE AREA (course_id INTEGER, area TEXT);
CREATE TABLE COMMENT_INSTRUCTOR (instructor_id INTEGER, student_id INTEGER, score INTEGER, comment_text TEXT);
CREATE TABLE COURSE (
    course_id INTEGER PRIMARY KEY, name TEXT, department TEXT, number INTEGER, credits INTEGER,
    advisory_requirement TEXT, enforced_requirement TEXT, description TEXT, num_semesters INTEGER,
    num_enrolled INTEGER,
    has_discussion TEXT CHECK (has_discussion IN ('Y', 'N')), has_lab TEXT CHECK (has_lab IN ('Y', 'N')),
    has_projects TEXT CHECK (has_projects IN ('Y', 'N')), has_exams TEXT CHECK (has_exams IN ('Y', 'N')),
    num_reviews INTEGER, clarity_score INTEGER, easiness_score INTEGER, helpfulness_score INTEGER
);
CREATE TABLE COURSE_OFFERING (
    offering_id INTEGER PRIMARY KEY, course_id INTEGER, semester INTEGER, section_number INTEGER, start_time TIME,
    end_time TIME,
    monday TEXT CHECK (monday IN ('Y', 'N')), tuesday TEXT CHECK (tuesday IN ('Y', 'N')),
    wednesday TEXT CHECK (wednesday IN ('Y', 'N')), thursday TEXT CHECK (thursday IN ('Y', 'N')),
    friday TEXT CHECK (friday IN ('Y', 'N')), saturday TEXT CHECK (saturday IN ('Y', 'N')),
    sunday TEXT CHECK (sunday IN ('Y', 'N')), has_final_project TEXT CHECK (has_final_project IN ('Y', 'N')),
    has_final_exam TEXT CHECK (has_final_exam IN ('Y', 'N')), textbook TEXT, class_address TEXT,
    allow_audit TEXT CHECK (allow_audit IN ('Y', 'N'))
);
CREATE TABLE COURSE_PREREQUISITE (pre_course_id INTEGER, course_id INTEGER);
CREATE TABLE COURSE_TAGS_COUNT (
    course_id INTEGER PRIMARY KEY, clear_grading INTEGER, pop_quiz INTEGER, group_projects INTEGER,
    inspirational INTEGER, long_lectures INTEGER, extra_credit INTEGER, few_tests INTEGER, good_feedback INTEGER,
    tough_tests INTEGER, heavy_papers INTEGER, cares_for_students INTEGER, heavy_assignments INTEGER,
    respected INTEGER, participation INTEGER, heavy_reading INTEGER, tough_grader INTEGER, hilarious INTEGER,
    would_take_again INTEGER, good_lecture INTEGER, no_skip INTEGER
);
CREATE TABLE GSI (course_offering_id INTEGER, student_id INTEGER);
CREATE TABLE INSTRUCTOR (instructor_id INTEGER PRIMARY KEY, name TEXT, uniqname TEXT);
CREATE TABLE JOBS (
    job_id INTEGER PRIMARY KEY, job_title TEXT, description TEXT, requirement TEXT, city TEXT, state TEXT,
    country TEXT, zip TEXT
);
CREATE TABLE OFFERING_INSTRUCTOR (
    offering_instructor_id INTEGER PRIMARY KEY, offering_id INTEGER, instructor_id INTEGER
);
CREATE TABLE PROGRAM (program_id INTEGER PRIMARY KEY, name TEXT, college TEXT, introduction TEXT);
CREATE TABLE PROGRAM_COURSE (program_id INTEGER, course_id INTEGER, workload INTEGER, category TEXT);
CREATE TABLE PROGRAM_REQUIREMENT (program_id INTEGER, category TEXT, min_credit INTEGER, additional_req TEXT);
CREATE TABLE REQUIREMENT (requirement_id INTEGER PRIMARY KEY, requirement TEXT, college TEXT);
CREATE TABLE SEMESTER (semester_id INTEGER PRIMARY KEY, semester TEXT, year INTEGER);
CREATE TABLE STUDENT (
    student_id INTEGER PRIMARY KEY, lastname TEXT, firstname TEXT, program_id INTEGER, declare_major TEXT,
    total_credit INTEGER, total_gpa REAL, entered_as TEXT, admit_term INTEGER, predicted_graduation_semester INTEGER,
    degree TEXT, minor TEXT, internship TEXT
);
CREATE TABLE STUDENT_RECORD (
    student_id INTEGER, course_id INTEGER, semester INTEGER, grade TEXT, how TEXT, transfer_source TEXT,
    earn_credit TEXT, repeat_term TEXT, test_id TEXT, offering_id INTEGER
);
CREATE TABLE TA (campus_job_id INTEGER, student_id INTEGER, location TEXT);
